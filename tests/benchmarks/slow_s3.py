"""A slow S3 server: nginx serves folders as a bucket, and makes every request late."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# In front: there is a module `remote` beside this one, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from remote.servers import free_port, process

BUCKET = "benchmark"
CREDENTIALS = {"key": "benchmark", "secret": "benchmark"}

# Signatures are sent, and not checked. What is not there is answered as S3 does, and so is the
# question what there is, which only zarr-python asks, of what is not there.
NGINX = """\
load_module {echo};
user {user};
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  log_format bytes '$bytes_sent';
  access_log {folder}/bytes.log bytes;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ echo_sleep {delay}; echo_exec @files; }}
    location @files {{
      root {folder}/files;
      if ($args ~ list-type=2) {{
        return 200 '<?xml version="1.0"?><ListBucketResult/>';
      }}
      error_page 404 = @missing;
    }}
    location @missing {{
      default_type application/xml;
      return 404 '<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>';
    }}
  }}
}}
"""
ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


@contextmanager
def slow_s3(delay: float, scratch: Path, pt: Path, store: Path) -> Iterator[tuple[str, Path]]:
    """Serve two folders as `pt` and `store` of a bucket; yield the address, and a log of bytes."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None or not ECHO.exists():
        sys.exit(
            "Reading from S3 is measured with nginx and its module echo. On Debian: "
            "apt-get install nginx-light libnginx-mod-http-echo; or leave it out: --places local."
        )
    folder = scratch / "nginx"
    shutil.rmtree(folder, ignore_errors=True)
    bucket = folder / "files" / BUCKET
    bucket.mkdir(parents=True)
    (bucket / "pt").symlink_to(pt)
    (bucket / "store").symlink_to(store)
    port = free_port()
    settings = NGINX.format(
        echo=ECHO, user=getpass.getuser(), folder=folder, port=port, delay=f"{delay:.3f}"
    )
    (folder / "nginx.conf").write_text(settings)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with process(command, port, folder / "output.log"):
        yield f"http://127.0.0.1:{port}", folder / "bytes.log"


def bytes_sent(log: Path) -> int:
    """Return the bytes that the server has sent so far."""
    time.sleep(0.2)  # a request is written down after its last byte was sent
    return sum(map(int, log.read_text().split()))
