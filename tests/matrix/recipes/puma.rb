bind "unix:///run/aegis/services/puma.sock?umask=0007"
