#!/bin/sh
while read -r line && [ "${#line}" -gt 1 ]; do :; done
body='backup_age_seconds 42'
printf 'HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n'
printf 'Content-Length: %d\r\nConnection: close\r\n\r\n%s\n' "$((${#body} + 1))" "$body"
