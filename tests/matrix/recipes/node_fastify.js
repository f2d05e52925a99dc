const fastify = require("fastify")();
const client = require("prom-client");

new client.Counter({ name: "jobs_total", help: "Jobs done." }).inc(3);
fastify.get("/metrics", async (request, reply) => {
  reply.type(client.register.contentType);
  return client.register.metrics();
});

process.umask(0o007);
fastify.listen({ path: "/run/aegis/services/fastify.sock" });
