const express = require("express");

const app = express();
app.get("/metrics", (request, response) => response.send("jobs_total 3\n"));

process.umask(0o007);
app.listen("/run/aegis/services/express-plain.sock");
