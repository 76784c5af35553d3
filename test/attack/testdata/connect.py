"""Looks a name up by the C library and connects to port 80 of what it is told: connect.py NAME."""
import socket
import sys

try:
    socket.create_connection((sys.argv[1], 80), timeout=10).close()
    print("connected")
except socket.gaierror as e:
    print("no address:", e)
except OSError as e:
    print("not connected:", e)
