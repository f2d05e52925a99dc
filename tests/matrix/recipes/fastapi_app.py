import fastapi
import prometheus_client

app = fastapi.FastAPI()
JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)


@app.get("/metrics")
def metrics():
    return fastapi.Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)
