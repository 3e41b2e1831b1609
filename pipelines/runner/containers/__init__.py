"""Tasks in real containers, through the command line of podman or docker: `trimtab run --runner container`."""
