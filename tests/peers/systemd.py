"""Starts a program as systemd does, with a socket that is listened on: systemd.py PROGRAM ARGUMENTS."""

import os
import socket
import sys

listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
