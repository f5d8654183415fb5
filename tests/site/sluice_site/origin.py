"""The servers of an origin: nginx, `answer`, `flows --serve`, and `bulk --serve` when asked for."""

from . import host, layout
from .process import Process
from .tools import Tool

NGINX = """
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  client_max_body_size 4g;
  keepalive_timeout 60s;
  server {{
    listen 0.0.0.0:{port} backlog=4096;
    listen [::]:{port} backlog=4096;
    default_type text/plain;
    add_header X-Origin {name};
    location / {{ return 200 "{name}\\n"; }}
    location /client {{ return 200 "$remote_addr\n"; }}
    location /files/ {{ alias {files}/; dav_methods PUT; }}
  }}
}}
"""


class Origin:
    def __init__(self, machine, network, directory, tools):
        self.machine = machine
        self.name = machine.name
        self.directory = directory / machine.name
        self.files = directory / "files"
        self.directory.mkdir()
        self.files.mkdir(exist_ok=True)
        namespace = network.namespace(machine.name)
        self.namespace = namespace
        configuration = self.directory / "nginx.conf"
        configuration.write_text(NGINX.format(directory=self.directory, name=self.name,
                                              port=layout.HTTP_PORT, files=self.files))
        self.nginx = Process("nginx", ["nginx", "-c", configuration, "-p", self.directory,
                                       "-e", "stderr"], self.directory, namespace)
        self.answer = Tool("answer", [tools / "answer", "--name", self.name,
                                      "--tcp", layout.ANSWER_PORT, "--udp", layout.UDP_PORT,
                                      "--echo", layout.ECHO_PORT],
                           self.directory, namespace)
        self.flows = Tool("flows", [tools / "flows", "--serve", "--name", self.name,
                                    "--port", layout.FLOWS_PORT], self.directory, namespace)
        self.bulk = Tool("bulk", [tools / "bulk", "--serve", layout.BULK_PORT], self.directory,
                         namespace)
        self.servers = (self.nginx, self.answer, self.flows)

    def start(self):
        for server in self.servers:
            server.start()
        self.wait_ready()

    def wait_ready(self):
        for port in (layout.HTTP_PORT, layout.ANSWER_PORT, layout.ECHO_PORT, layout.FLOWS_PORT):
            host.wait_for(lambda: self.listens(port), f"{self.name} to listen on {port}")

    def serve_bulk(self):
        """For the tests that move much; stands until the site goes."""
        if not self.bulk.is_running():
            self.bulk.start()
            host.wait_for(lambda: self.listens(layout.BULK_PORT), f"{self.name} to listen for bulk")
        return self.bulk

    def listens(self, port):
        done = host.run_in(self.namespace, "ss", "-Hltn", f"sport = :{port}")
        return bool(done.stdout.strip())

    def kill(self):
        """Every server of this origin dies; its address goes on answering ARP, ping and RST."""
        for server in (*self.servers, self.bulk):
            if server.is_running():
                server.kill()
        # nginx is killed with its worker left behind: the worker would go on serving.
        host.run("pkill", "-KILL", "-f", f"nginx.*{self.directory}", check=False)

    def stop(self):
        for server in (*self.servers, self.bulk):
            server.stop()
