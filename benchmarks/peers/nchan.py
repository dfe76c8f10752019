"""nginx with nchan (Debian: nginx, libnginx-mod-nchan): a feed in C. One worker, its messages in memory."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NCHAN = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 40000;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 1000000;
        location = /pub {{ nchan_publisher; nchan_channel_id jobs; nchan_message_buffer_length 1000; }}
        location = /sub {{
            nchan_subscriber eventsource;
            nchan_channel_id jobs;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""
_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so")


@contextmanager
def nchan() -> Iterator[int]:
    """Its port; POST /pub, GET /sub. Raises FileNotFoundError where it is not installed."""
    module = next((path for path in _MODULES if Path(path).exists()), None)
    if module is None or shutil.which("nginx") is None:
        raise FileNotFoundError("install nginx and libnginx-mod-nchan")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="jobstore-bench-nchan-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "nginx.conf").write_text(_NCHAN.format(module=module, folder=folder, port=port))
    server = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
