-- Lets Grafana read closed months, and nothing else: the ledger's own tables stay with the collector.
\getenv password READER_PASSWORD
SELECT format('CREATE ROLE grafana LOGIN PASSWORD %L', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'grafana')
\gexec
GRANT SELECT ON statement_month, statement_item, statement_workload TO grafana;
