"""A program with python-socketio 4 that emits over a Redis, in pickled messages.

    python old_publisher.py URL
"""

import sys

import socketio

manager = socketio.RedisManager(sys.argv[1], write_only=True)
for number in range(2):
    manager.emit("news", "old", namespace="/")
