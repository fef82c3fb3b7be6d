"""The Kubernetes cluster's word: namespaces, nodes and their labels, as they were."""
