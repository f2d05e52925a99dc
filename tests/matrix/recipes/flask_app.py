import flask
import prometheus_client

app = flask.Flask(__name__)
JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)


@app.get("/metrics")
def metrics():
    return flask.Response(prometheus_client.generate_latest(), content_type=prometheus_client.CONTENT_TYPE_LATEST)
