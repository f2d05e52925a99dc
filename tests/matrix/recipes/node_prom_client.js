const http = require("http");
const client = require("prom-client");

new client.Counter({ name: "jobs_total", help: "Jobs done." }).inc(3);
client.collectDefaultMetrics();

process.umask(0o007);
http.createServer(async (request, response) => {
  response.setHeader("Content-Type", client.register.contentType);
  response.end(await client.register.metrics());
}).listen("/run/aegis/services/prom-client.sock");
