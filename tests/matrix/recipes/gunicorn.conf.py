bind = "unix:/run/aegis/services/gunicorn.sock"
umask = 0o007
