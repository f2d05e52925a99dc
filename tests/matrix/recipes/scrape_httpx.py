import ssl
import sys

import httpx

url, pki = sys.argv[1:]
context = ssl.create_default_context(cafile=f"{pki}/ca.pem")
context.load_cert_chain(f"{pki}/prometheus.pem", f"{pki}/prometheus.key")
with httpx.Client(verify=context) as client:
    for _ in range(2):
        sys.stdout.write(client.get(url).raise_for_status().text)
