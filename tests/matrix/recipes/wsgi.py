import prometheus_client

JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)

app = prometheus_client.make_wsgi_app()
