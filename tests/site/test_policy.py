"""What a virtual host admits: sources, connections at a time, connections a second; and backups."""

import time

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"


def limited(items, name, **limits):
    """The objects with limits at one virtual host."""
    for item in items:
        if item["kind"] == "virtual_host" and item["metadata"]["name"] == name:
            item["spec"]["sluice"] = limits
    return items


def service_policy(name, **spec):
    return objects.document("service_policy", name, spec)


def test_a_denied_source_gets_nothing_and_an_allowed_one_all(site):
    web = objects.service("web", 1, 80, layout.ANSWER_PORT)
    denied = service_policy("no-client-1", deny_list={"prefix_list": {"prefixes": [
        f"{layout.CLIENTS[0].v4}/32"]}})
    site.apply([objects.node(), denied, *limited(web, "web", service_policies=[{"name": "no-client-1"}])])
    refused = site.curl(f"http://{WEB}/", "--connect-timeout", "1", check=False)
    assert refused.returncode == 28, refused  # silence
    assert site.curl(f"http://{WEB}/", client="client-2").returncode == 0
    assert site.drops()["drop.source_denied"] > 0

    # An allow list; flows of a source that is denied from now on stay.
    site.apply([service_policy("no-client-1", allow_list={"prefix_list": {"prefixes": [
        f"{layout.CLIENTS[0].v4}/32"]}})])
    assert site.curl(f"http://{WEB}/").returncode == 0
    assert site.curl(f"http://{WEB}/", "--connect-timeout", "1", client="client-2", check=False).returncode == 28
    assert "sources" in site.shell("show", "vips").stdout


def test_100_000_prefixes_are_taken_and_the_last_one_counts(site):
    prefixes = [f"10.{64 + i // 65536}.{i // 256 % 256}.{i % 256}/32" for i in range(100_000)]
    prefixes.append(f"{layout.CLIENTS[0].v4}/32")
    web = objects.service("web", 1, 80, layout.ANSWER_PORT)
    site.apply([objects.node(), *limited(web, "web", service_policies=[{"name": "list"}]),
                service_policy("list", deny_list={"prefix_list": {"prefixes": prefixes}})])
    assert site.curl(f"http://{WEB}/", "--connect-timeout", "1", check=False).returncode == 28
    assert site.curl(f"http://{WEB}/", client="client-2").returncode == 0


def test_connections_beyond_the_limit_are_reset_and_the_others_undisturbed(site):
    flows = objects.service("flows", 2, 7000, layout.FLOWS_PORT)
    site.apply([objects.node(timeouts={"tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s", "tcp_reset": "1s"}),
                *limited(flows, "flows", connection_limit=50)])
    tool = site.flows(FLOWS, count=50, interval_ms=100)
    assert tool.event("ready")["established"] == 50
    over = site.flows(FLOWS, "client-2", count=10, open_timeout_ms=1500)
    ready = over.event("ready")
    assert ready["established"] == 0 and ready["failed_by"] == {"ECONNREFUSED": 10}, ready
    over.finish()
    assert site.ask_dataplane("ledger")["verdicts"]["reject_connection_limit"] == 10
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == 0, ended
    host.wait_for(lambda: site.ask_dataplane("status")["flows_in_use"] == 0, "the closed flows to be forgotten", 20)
    again = site.flows(FLOWS, "client-2", count=50)
    assert again.event("ready")["established"] == 50
    again.finish()


def test_one_source_above_its_rate_leaves_the_others_alone(site):
    web = objects.service("web", 1, 80, layout.ANSWER_PORT)
    site.apply([objects.node(), *limited(web, "web", new_connections_per_source={"total_number": 20})])
    began = time.monotonic()
    greedy = site.tool("cps", connect=WEB, count=60)
    calm = site.cps(WEB, "client-2", count=10).result()
    assert calm["failed"] == 0, calm
    greedy.stop()
    took = time.monotonic() - began
    assert site.drops()["drop.rate_source_connections"] > 0
    opened = sum(vip["flows_opened"] for vip in site.ask_dataplane("vips")["vips"])
    assert opened <= 10 + 20 + 20 * took + 2, (opened, took)


def test_backups_serve_only_while_the_others_are_down(site):
    items = objects.service("web", 1, 80, layout.ANSWER_PORT, health="tcp")
    for item in items:
        if item["metadata"]["name"] == "web-web-3":
            item["spec"].setdefault("sluice", {})["priority"] = 1
    site.apply([objects.node(), objects.health_check(), *items])
    site.wait_endpoints(3)

    def opened():
        return {e["name"]: e["flows_opened"] for e in site.ask_dataplane("endpoints")["endpoints"]}
    assert site.cps(WEB, count=30).result()["failed"] == 0
    assert opened()["web-web-3"] == 0, opened()
    for name in ("web-1", "web-2"):
        site.origins[name].answer.kill()
    site.wait_endpoints(1)
    before = opened()
    assert site.cps(WEB, count=30).result()["failed"] == 0
    after = opened()
    assert after["web-web-3"] - before["web-web-3"] >= 30, (before, after)
    assert "PRIORITY" in site.shell("show", "endpoints").stdout
