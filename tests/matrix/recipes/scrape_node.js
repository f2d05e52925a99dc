const fs = require("fs");
const https = require("https");

const [url, pki] = process.argv.slice(2);
const agent = new https.Agent({
  keepAlive: true,
  ca: fs.readFileSync(`${pki}/ca.pem`),
  cert: fs.readFileSync(`${pki}/prometheus.pem`),
  key: fs.readFileSync(`${pki}/prometheus.key`),
});
const scrape = () =>
  new Promise((resolve, reject) => {
    const request = https.get(url, { agent }, (response) => {
      response.on("data", (data) => process.stdout.write(data));
      response.on("end", () => (response.statusCode === 200 ? resolve() : reject(response.statusCode)));
    });
    request.on("error", reject);
  });

scrape().then(scrape).then(() => agent.destroy());
