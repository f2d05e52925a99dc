listen "/run/aegis/services/unicorn.sock", umask: 0o007
worker_processes 1
