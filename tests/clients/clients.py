"""Other people's clients against the dialects of the library: each logs in, calls, is refused with a
wrong password, and where its dialect can, refreshes, logs out, and is refused afterwards.

Usage: clients.py PROGRAM [DIALECT...]. The gateway runs in a folder of its own, before an upstream that records
what it saw. A client that cannot be imported is skipped by name.
"""

import http.server
import json
import logging
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings

warnings.simplefilter("ignore")
# Some clients log each refusal, which is what they are here for.
logging.disable(logging.CRITICAL)
PASSWORD = "correct horse battery staple"


class Upstream(http.server.ThreadingHTTPServer):
    """Answers every request with the user that the gateway names, and records it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Recorder)
        self.seen = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length", "0"))
        self.rfile.read(length)
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        user = self.headers.get("X-Auth-Username", "")
        names = ["id", "username", "data", "result", "projects", "deleted"]
        body = json.dumps(dict.fromkeys(names, user)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


class Gateway:
    """A gateway that serves one dialect at its own port, with what `LOGINS` has for it."""

    def __init__(self, program, dialect, upstream):
        self.program = program
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.upstream = upstream
        (folder / "gateway.toml").write_text(
            f"""
[[listener]]
address = "127.0.0.1:{self.port}"
tls = {{ self_signed = ["localhost"] }}
[token]
issuer = "https://localhost:{self.port}"
leeway = "0s"
[[users]]
name = "local"
kind = "file"
path = "users.toml"
[[login]]
dialect = "{dialect}"
users = ["local"]
{LOGINS.get(dialect, "")}
[[upstream]]
name = "api"
servers = ["http://127.0.0.1:{upstream.server_port}"]
[[route]]
path = "/"
upstream = "api"
auth = ["login"]
errors = "{dialect}"
"""
        )
        self.environment = {**os.environ, "NO_COLOR": "1"}
        self.run_command("user", "add", "ann", "--email", "ann@example.org")
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [program, "run", "-c", "gateway.toml"], cwd=folder, env=self.environment,
            stdout=self.log, stderr=self.log,
        )
        self.url = f"https://localhost:{self.port}"
        self.wait()
        # The clients believe this gateway, as they would one with a certificate of the world's.
        os.environ["REQUESTS_CA_BUNDLE"] = str(folder / "state/tls/localhost.crt")

    def run_command(self, *words):
        subprocess.run(
            [self.program, *words, "-c", "gateway.toml"], cwd=self.folder.name, env=self.environment, check=True,
            input=PASSWORD.encode() + b"\n", stdout=subprocess.DEVNULL,
        )

    def wait(self):
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(pathlib.Path(self.folder.name, "log").read_text())

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        self.folder.cleanup()


def refused(what, kind, run):
    """Asserts that `run` fails as this client reports it, and returns the report."""
    try:
        result = run()
    except kind as error:
        return error
    raise AssertionError(f"{what}: got {result!r}")


def oauth2_password(gateway):
    import requests_oauthlib
    from oauthlib.oauth2 import InvalidGrantError, LegacyApplicationClient
    from requests.exceptions import HTTPError

    def session():
        return requests_oauthlib.OAuth2Session(client=LegacyApplicationClient(client_id="app"))

    url = gateway.url + "/oauth/token"
    oauth = session()
    token = oauth.fetch_token(url, username="ann", password=PASSWORD)
    assert token["token_type"] == "Bearer" and token["expires_in"] == 3600, token
    assert oauth.get(gateway.url + "/things").json()["username"] == "ann"
    wrong = lambda: session().fetch_token(url, username="ann", password="no")
    refused("a wrong password", InvalidGrantError, wrong)
    time.sleep(1.1)  # A refresh token that is younger than a second stays the working one.
    renewed = oauth.refresh_token(url)
    assert renewed["access_token"] != token["access_token"]
    assert oauth.get(gateway.url + "/things").status_code == 200
    ended = oauth.post(gateway.url + "/oauth/revoke", data={"token": renewed["access_token"]})
    assert ended.status_code == 200, ended.text
    refused("a call after the end", HTTPError, lambda: oauth.get(gateway.url + "/things").raise_for_status())
    return f"requests-oauthlib {requests_oauthlib.__version__}"


def mattermost(gateway):
    import importlib.metadata

    import mattermostdriver
    from mattermostdriver.exceptions import NoAccessTokenProvided

    def driver(password):
        return mattermostdriver.Driver(
            {"url": "localhost", "port": gateway.port, "scheme": "https", "verify": os.environ["REQUESTS_CA_BUNDLE"],
             "login_id": "ann", "password": password}
        )

    one = driver(PASSWORD)
    user = one.login()
    assert user["username"] == "ann", user
    assert one.users.get_user("me")["username"] == "ann"
    refused("a wrong password", NoAccessTokenProvided, driver("no").login)
    token = one.client.token
    one.logout()
    one.client.token = token
    refused("a call after the end", NoAccessTokenProvided, lambda: one.users.get_user("me"))
    return f"mattermostdriver {importlib.metadata.version('mattermostdriver')}"


def zabbix(gateway):
    import zabbix_utils
    from zabbix_utils import APIRequestError, ZabbixAPI

    def api():
        trusted = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
        return ZabbixAPI(url=gateway.url, ssl_context=trusted, skip_version_check=True)

    one = api()
    one.login(user="ann", password=PASSWORD)
    assert one.host.get(output=["host"]) == "ann"
    refused("a wrong password", APIRequestError, lambda: api().login(user="ann", password="no"))
    token = one._ZabbixAPI__session_id
    one.logout()
    one._ZabbixAPI__session_id = token
    refused("a call after the end", APIRequestError, lambda: one.host.get(output=["host"]))
    return f"zabbix-utils {zabbix_utils.version.__version__}"


def keystone(gateway):
    import importlib.metadata

    from keystoneauth1 import exceptions, session
    from keystoneauth1.identity import v3

    def made(password):
        auth = v3.Password(
            auth_url=gateway.url + "/v3", username="ann", password=password,
            user_domain_id="default", unscoped=True,
        )
        return session.Session(auth=auth, verify=os.environ["REQUESTS_CA_BUNDLE"])

    one = made(PASSWORD)
    assert one.get(gateway.url + "/servers").json()["username"] == "ann"
    assert one.auth.get_access(one).username == "ann"
    refused("a wrong password", exceptions.Unauthorized, made("no").get_token)
    ended = one.delete(gateway.url + "/v3/auth/tokens", headers={"X-Subject-Token": one.get_token()})
    assert ended.status_code == 204, ended
    token = one.get_token()
    bare = session.Session(verify=os.environ["REQUESTS_CA_BUNDLE"])
    call = lambda: bare.get(gateway.url + "/servers", headers={"X-Auth-Token": token})
    refused("a call after the end", exceptions.Unauthorized, call)
    return f"keystoneauth1 {importlib.metadata.version('keystoneauth1')}"


def redfish(gateway):
    import redfish as library

    def client(password):
        return library.redfish_client(
            base_url=gateway.url, username="ann", password=password, default_prefix="/redfish/v1/",
            cafile=os.environ["REQUESTS_CA_BUNDLE"],
        )

    one = client(PASSWORD)
    one.login(auth="session")
    assert one.get("/redfish/v1/Systems").dict["username"] == "ann"
    wrong = lambda: client("no").login(auth="session")
    refused("a wrong password", library.rest.v1.InvalidCredentialsError, wrong)
    token, location = one.get_session_key(), one.get_session_location()
    one.logout()
    one.set_session_key(token)
    one.set_session_location(location)
    assert one.get("/redfish/v1/Systems").status == 401
    return f"redfish {library.__version__}"


def qbittorrent(gateway):
    import importlib.metadata

    import qbittorrentapi

    def client(password):
        return qbittorrentapi.Client(
            host=gateway.url, username="ann", password=password,
            REQUESTS_ARGS={"verify": os.environ["REQUESTS_CA_BUNDLE"]},
        )

    one = client(PASSWORD)
    one.auth_log_in()
    assert "ann" in one.app_version()
    refused("a wrong password", qbittorrentapi.LoginFailed, client("no").auth_log_in)
    old = f"SID={one._SID}"
    one.auth_log_out()
    # The client would log in anew by itself, so the old cookie is sent without it.
    call = urllib.request.Request(gateway.url + "/api/v2/app/version", headers={"Cookie": old})
    trusted = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    open_old = lambda: urllib.request.urlopen(call, context=trusted)
    refused("a call after the end", urllib.error.HTTPError, open_old)
    return f"qbittorrent-api {importlib.metadata.version('qbittorrent-api')}"


def proxmox(gateway):
    import proxmoxer

    def api(password):
        return proxmoxer.ProxmoxAPI(
            "localhost", port=gateway.port, user="ann", password=password,
            verify_ssl=os.environ["REQUESTS_CA_BUNDLE"],
        )

    one = api(PASSWORD)
    assert one.nodes.get() == "ann"
    assert one.nodes("a").qemu.post(vmid=1) == "ann"
    refused("a wrong password", proxmoxer.AuthenticationError, lambda: api("no"))
    return f"proxmoxer {proxmoxer.__version__}"


WSDL = """<?xml version="1.0"?>
<definitions name="s" targetNamespace="urn:session" xmlns="http://schemas.xmlsoap.org/wsdl/"
  xmlns:tns="urn:session" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:xsd="http://www.w3.org/2001/XMLSchema">
<types><xsd:schema targetNamespace="urn:session" elementFormDefault="qualified">
 <xsd:element name="login"><xsd:complexType><xsd:sequence>
  <xsd:element name="username" type="xsd:string"/><xsd:element name="password" type="xsd:string"/>
 </xsd:sequence></xsd:complexType></xsd:element>
 <xsd:element name="loginResponse"><xsd:complexType><xsd:sequence>
  <xsd:element name="sessionId" type="xsd:string"/><xsd:element name="expires" type="xsd:dateTime"/>
 </xsd:sequence></xsd:complexType></xsd:element>
 <xsd:element name="logout"><xsd:complexType/></xsd:element>
 <xsd:element name="logoutResponse"><xsd:complexType/></xsd:element>
</xsd:schema></types>
<message name="loginIn"><part name="p" element="tns:login"/></message>
<message name="loginOut"><part name="p" element="tns:loginResponse"/></message>
<message name="logoutIn"><part name="p" element="tns:logout"/></message>
<message name="logoutOut"><part name="p" element="tns:logoutResponse"/></message>
<portType name="port">
 <operation name="login"><input message="tns:loginIn"/><output message="tns:loginOut"/></operation>
 <operation name="logout"><input message="tns:logoutIn"/><output message="tns:logoutOut"/></operation>
</portType>
<binding name="b" type="tns:port"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
 <operation name="login"><soap:operation soapAction="login"/><input><soap:body use="literal"/></input>
  <output><soap:body use="literal"/></output></operation>
 <operation name="logout"><soap:operation soapAction="logout"/><input><soap:body use="literal"/></input>
  <output><soap:body use="literal"/></output></operation>
</binding>
<service name="s"><port name="p" binding="tns:b"><soap:address location="URL"/></port></service>
</definitions>
"""


def soap_login(gateway):
    import zeep
    from zeep.exceptions import Fault

    file = pathlib.Path(gateway.folder.name, "session.wsdl")
    file.write_text(WSDL.replace("URL", gateway.url + "/services/session"))

    def client():
        return zeep.Client(str(file))

    one = client()
    answer = one.service.login(username="ann", password=PASSWORD)
    assert answer.sessionId and answer.expires, answer
    calls = one.transport.session
    assert calls.get(gateway.url + "/things").json()["username"] == "ann"
    # What is no login at the login's own path is a call.
    call = "<Envelope><Body><list/></Body></Envelope>"
    fields = {"Content-Type": "text/xml", "SOAPAction": "list"}
    called = calls.post(gateway.url + "/services/session", data=call, headers=fields)
    assert called.json()["username"] == "ann", called.text
    refused("a wrong password", Fault, lambda: client().service.login(username="ann", password="no"))
    cookies = calls.cookies.copy()
    one.service.logout()
    calls.cookies = cookies
    assert calls.get(gateway.url + "/things").status_code == 500
    return f"zeep {zeep.__version__}"


def django_token(gateway):
    import importlib.metadata

    from drf_client.connection import Api
    from drf_client.exceptions import HttpClientError

    def api():
        return Api(
            {"DOMAIN": gateway.url, "LOGIN": "api-token-auth/", "TOKEN_TYPE": "token", "TOKEN_FORMAT": "Token {token}",
             "SESSION_VERIFY": os.environ["REQUESTS_CA_BUNDLE"]}
        )

    one = api()
    assert one.login(username="ann", password=PASSWORD)
    assert one.things.get()["username"] == "ann"
    assert one.things(7).post({"name": "x"})["username"] == "ann"
    assert api().login(username="ann", password="no") is False
    gateway.run_command("session", "revoke", "--user", "ann")
    error = refused("a call after the end", HttpClientError, one.things.get)
    assert json.loads(error.content) == {"detail": "Invalid token."}, error.content
    return f"django-rest-framework-client {importlib.metadata.version('django-rest-framework-client')}"


def simplejwt(gateway):
    import importlib.metadata

    from openhexa.toolbox.iaso import IASO
    from openhexa.toolbox.iaso.api_client import IASOError

    one = IASO(gateway.url, "ann", PASSWORD)
    assert one.get_projects() == "ann"
    error = refused("a wrong password", IASOError, lambda: IASO(gateway.url, "ann", "no"))
    assert "No active account found" in str(error), error
    calls, first = one.api_client, one.api_client.token
    time.sleep(2.1)  # The access token's life here.
    # At a 401 the client refreshes by itself, for its next call.
    assert calls.get("/api/projects").status_code == 401
    assert calls.token != first
    assert one.get_projects() == "ann"
    gateway.run_command("session", "revoke", "--user", "ann")
    # With a refresh token the client would ask again and again.
    calls._refresh_token = None
    error = refused("a call after the end", IASOError, one.get_projects)
    assert "token_not_valid" in str(error), error
    return f"openhexa.toolbox {importlib.metadata.version('openhexa.toolbox')}"


def wordpress_jwt(gateway):
    import importlib.metadata

    from wpclient.api.exceptions import AuthenticationFailure, BadRequest
    from wpclient.api.sync.client import WPAPI

    one = WPAPI(gateway.url, "ann", "no")
    error = refused("a wrong password", AuthenticationFailure, lambda: one.posts.delete(1))
    assert "403" in str(error) and "the password is incorrect" in str(error), error
    # The client has one login for the whole process.
    one.auth.password = PASSWORD
    assert one.posts.delete(1) == "ann"
    time.sleep(2.1)  # The token's life here.
    error = refused("a call after the token's end", BadRequest, lambda: one.posts.delete(1))
    assert json.loads(str(error))["code"] == "jwt_auth_invalid_token", error
    return f"wpclient {importlib.metadata.version('wpclient')}"


def spring_form(gateway):
    import importlib.metadata

    import mechanicalsoup

    def browser():
        return mechanicalsoup.StatefulBrowser(raise_on_404=True)

    def sign_in(one, password):
        one.select_form('form[action="/login"]')
        one["username"], one["password"] = "ann", password
        return one.submit_selected()

    one = browser()
    one.open(gateway.url + "/things")
    assert one.url == gateway.url + "/login", one.url
    assert sign_in(one, PASSWORD).json()["username"] == "ann"
    assert one.open(gateway.url + "/things").json()["username"] == "ann"
    wrong = browser()
    wrong.open(gateway.url + "/login")
    sign_in(wrong, "no")
    assert wrong.url == gateway.url + "/login?error", wrong.url
    cookies = one.session.cookies.copy()
    one.open(gateway.url + "/logout")
    one.select_form('form[action="/logout"]')
    one.submit_selected()
    assert one.url == gateway.url + "/login?logout", one.url
    assert "JSESSIONID" not in one.session.cookies
    one.session.cookies = cookies
    one.open(gateway.url + "/things")
    assert one.url == gateway.url + "/login", one.url
    return f"mechanicalsoup {importlib.metadata.version('mechanicalsoup')}"


CLIENTS = [
    django_token, keystone, mattermost, oauth2_password, proxmox, qbittorrent, redfish, simplejwt, soap_login,
    spring_form, wordpress_jwt, zabbix,
]
# What else a client's [[login]] says: the paths that the client has, lives that a test can see the end of.
LOGINS = {
    "django_token": 'prefix = "/api/v1"',
    "simplejwt": 'access_ttl = "2s"',
    "wordpress_jwt": 'access_ttl = "2s"',
}


def main():
    program = os.path.abspath(sys.argv[1])
    failed = 0
    wanted = sys.argv[2:]
    for client in CLIENTS:
        dialect = client.__name__
        if wanted and dialect not in wanted:
            continue
        upstream = Upstream()
        gateway = Gateway(program, dialect, upstream)
        try:
            version = client(gateway)
            leaked = [seen for seen in upstream.seen if PASSWORD in json.dumps(seen)]
            assert upstream.seen and not leaked, leaked
            print(f"{dialect:<16} passed   {version}")
        except ImportError as error:
            print(f"{dialect:<16} skipped  {error}")
        except Exception as error:  # noqa: BLE001: one client's failure must not hide the next
            failed = 1
            print(f"{dialect:<16} FAILED   {type(error).__name__}: {error}")
            print(pathlib.Path(gateway.folder.name, "log").read_text()[-3000:])
        finally:
            gateway.close()
            upstream.shutdown()
    sys.exit(failed)


main()
