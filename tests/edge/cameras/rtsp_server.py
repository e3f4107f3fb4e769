"""A real RTSP camera: GStreamer's server playing a moving test picture. Run by the system's Python, which has gi.

python3 rtsp_server.py PORT [USER PASSWORD]: prints its port, then serves rtsp://127.0.0.1:PORT/live until stdin closes.
PORT 0 takes a free one.
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( videotestsrc is-live=true pattern=snow ! video/x-raw,format=I420,width=320,height=240,framerate=15/1 "
        "! jpegenc ! rtpjpegpay name=pay0 )"
    )
    factory.set_shared(True)
    # Over TCP only: a client that tries UDP fails.
    factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    if len(sys.argv) == 4:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(sys.argv[2], sys.argv[3]), token)
        server.set_auth(auth)
        role = Gst.Structure.new_from_string("viewer, media.factory.access=true, media.factory.construct=true")
        factory.add_role_from_structure(role[0] if isinstance(role, tuple) else role)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_HUP | GLib.IO_IN, lambda *_: loop.quit())
    loop.run()


main()
