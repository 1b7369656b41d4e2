"""How is each daemon run? Its configuration: one answer a connection, and a line that tells its handshake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_certload.stack.daemons import DaemonSetup, DaemonSpec

__all__ = ["APACHE", "F5", "HAPROXY", "NGINX", "SPECS"]


def _nginx_files(setup: DaemonSetup) -> Mapping[str, str]:
    sessions = (
        "ssl_session_cache shared:sessions:1m; ssl_session_tickets on;"
        if setup.resumption
        else "ssl_session_cache off; ssl_session_tickets off;"
    )
    kept = "\n".join(
        f"  {kind}_temp_path {setup.directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return {
        "nginx.conf": f"""\
daemon off;
pid {setup.directory}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
{kept}
  log_format handshake "handshake $request_uri $ssl_session_reused";
  access_log {setup.log} handshake;
  default_type text/plain;
  server {{
    listen {setup.host}:{setup.port} ssl;
    ssl_certificate {setup.cert_path};
    ssl_certificate_key {setup.key_path};
    ssl_protocols TLSv1.2 TLSv1.3;
    {sessions}
    keepalive_timeout 0;
    location / {{ return 200 "ok\\n"; }}
  }}
}}
"""
    }


def _nginx_command(setup: DaemonSetup) -> Sequence[str]:
    # Before it has read its configuration it would write to /var/log.
    return ("nginx", "-e", "stderr", "-c", f"{setup.directory}/nginx.conf")


NGINX = DaemonSpec(
    name="nginx",
    path="/",
    full=".",
    resumed="r",
    command=_nginx_command,
    files=_nginx_files,
    package="nginx",
)

#: Not built into Debian's program.
_APACHE_MODULES = ("mpm_event", "authz_core", "alias", "ssl", "socache_shmcb")


def _apache_files(setup: DaemonSetup) -> Mapping[str, str]:
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
        for name in _APACHE_MODULES
    )
    sessions = (
        "SSLSessionCache shmcb:sessions(512000)\nSSLSessionTickets on"
        if setup.resumption
        else "SSLSessionCache none\nSSLSessionTickets off"
    )
    return {
        "www/index.html": "ok\n",
        "apache.conf": f"""\
ServerRoot {setup.directory}
DefaultRuntimeDir {setup.directory}
PidFile apache.pid
ServerName localhost
{modules}
Listen {setup.host}:{setup.port}
ErrorLog {setup.directory}/error.log
LogLevel warn
KeepAlive Off
StartServers 1
ServerLimit 4
ThreadsPerChild 25
MaxRequestWorkers 100
LogFormat "handshake %U%q %{{SSL_SESSION_RESUMED}}x" handshake
CustomLog {setup.log} handshake
{sessions}
DocumentRoot {setup.directory}/www
AliasMatch ^/$ {setup.directory}/www/index.html
<Directory {setup.directory}/www>
  Require all granted
</Directory>
<VirtualHost *:{setup.port}>
  SSLEngine on
  SSLProtocol -all +TLSv1.2 +TLSv1.3
  SSLCertificateFile {setup.cert_path}
  SSLCertificateKeyFile {setup.key_path}
</VirtualHost>
""",
    }


def _apache_command(setup: DaemonSetup) -> Sequence[str]:
    return ("apache2", "-f", f"{setup.directory}/apache.conf", "-DFOREGROUND")


APACHE = DaemonSpec(
    name="apache",
    path="/",
    full="Initial",
    resumed="Resumed",
    command=_apache_command,
    files=_apache_files,
    package="apache2",
)


def _haproxy_files(setup: DaemonSetup) -> Mapping[str, str]:
    tickets = "" if setup.resumption else " no-tls-tickets"
    return {
        "haproxy.cfg": f"""\
global
  log stdout format raw local0 info
  maxconn 1000
  nbthread 1
  tune.ssl.cachesize {20000 if setup.resumption else 0}
  tune.ssl.default-dh-param 2048
  ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
  mode http
  log global
  option dontlognull
  option http-ignore-probes
  option httpclose
  log-format "handshake %HU %[ssl_fc_is_resumed]"
  timeout client 30s
  timeout server 30s
  timeout connect 5s

frontend tls
  bind {setup.host}:{setup.port} ssl crt {setup.both_path}{tickets}
  http-request return status 200 content-type text/plain string ok
"""
    }


def _haproxy_command(setup: DaemonSetup) -> Sequence[str]:
    return ("haproxy", "-db", "-f", f"{setup.directory}/haproxy.cfg")


HAPROXY = DaemonSpec(
    name="haproxy",
    path="/",
    full="0",
    resumed="1",
    command=_haproxy_command,
    files=_haproxy_files,
    package="haproxy",
    on_output=True,
)


def _f5_command(setup: DaemonSetup) -> Sequence[str]:
    return (
        *("python", "-m", "pytest_certload.certctl.connectors.icontrol"),
        *("--host", setup.host, "--port", str(setup.port)),
        *("--cert", setup.cert_path, "--key", setup.key_path, "--log", setup.log),
        *(("--resumption",) if setup.resumption else ()),
    )


def _no_files(_: DaemonSetup) -> Mapping[str, str]:
    return {}


#: A stand-in: nobody can run the real one.
F5 = DaemonSpec(
    name="f5",
    path="/healthz",
    full="full",
    resumed="resumed",
    command=_f5_command,
    files=_no_files,
)

SPECS = (NGINX, APACHE, HAPROXY, F5)
