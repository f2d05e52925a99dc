import fastapi
import prometheus_client

app = fastapi.FastAPI()
app.mount("/metrics", prometheus_client.make_asgi_app())
