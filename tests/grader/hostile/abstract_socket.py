# tries: connect to services of the machine by abstract sockets
import socket
for name in ("/tmp/.X11-unix/X0", "/run/dbus/system_bus_socket", "\0/tmp/.X11-unix/X0", "\0dbus"):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
    except OSError:
        continue
    raise AssertionError("LEAK " + name)
