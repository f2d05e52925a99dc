#!/bin/sh
while IFS= read -r line && [ "${#line}" -gt 1 ]; do :; done
printf 'HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n'
echo '# TYPE backup_age_seconds gauge'
echo 'backup_age_seconds 42'
