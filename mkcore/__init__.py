"""What the services share: errors, untrusted data, files, processes, HTTP, systemd, configuration."""
