const express = require("express");
const client = require("prom-client");

const app = express();
new client.Counter({ name: "jobs_total", help: "Jobs done." }).inc(3);

app.get("/metrics", async (request, response) => {
  response.set("Content-Type", client.register.contentType);
  response.end(await client.register.metrics());
});

process.umask(0o007);
app.listen("/run/aegis/services/express.sock");
