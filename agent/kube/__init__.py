"""The Kubernetes API's word on this node: pods, resource slices, claims."""
