"""The configuration changes while traffic runs, and nobody notices."""

import json

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"


def base():
    return [objects.node(),
            *objects.service("web", 1, 80, layout.ANSWER_PORT),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT, algorithm="MAGLEV")]


def test_200_applies_under_traffic_fail_nobody(site):
    site.apply(base())
    flows = site.flows(FLOWS, count=500, interval_ms=500)
    cps = site.cps(WEB, "client-2", rate=400)
    host.wait_for(lambda: cps.progress()["succeeded"] > 100, "traffic")
    before = site.drops()
    generation = site.ask_dataplane("status")["generation"]
    for i in range(200):
        weights = {"web-1": 1 + i % 2, "web-2": 1 + i % 3}
        reply = site.ask_mgmt("apply", objects.to_yaml(
            objects.service("web", 1, 80, layout.ANSWER_PORT, weights=weights) +
            objects.service("other", 3 + i % 20, 80, layout.ANSWER_PORT)))
    site.wait_generation(reply["generation"])
    assert site.ask_dataplane("status")["generation"] >= generation + 200
    result, ended = cps.finish(), flows.finish()
    assert result["failed"] == 0 and result["succeeded"] > 400, result
    assert ended["broken"] == ended["moved"] == 0, ended
    after = site.drops()
    assert {name: after[name] - before.get(name, 0) for name in after
            if after[name] != before.get(name, 0)} == {}


def test_1000_random_edits_break_no_flow_and_no_two_flows_share_a_snat_port(site, dice):
    site.apply(base())
    flows = site.flows(FLOWS, count=2000, interval_ms=1000)
    for _ in range(1000):
        choice = dice.randrange(4)
        if choice == 0:
            site.ask_mgmt("apply", objects.to_yaml(objects.service(
                "flows", 2, 7000, layout.FLOWS_PORT, algorithm="MAGLEV",
                weights={origin.name: dice.randrange(1, 9) for origin in layout.ORIGINS})))
        elif choice == 1:
            site.ask_mgmt(dice.choice(["drain", "undrain"]),
                          name=f"flows-{dice.choice(layout.ORIGINS).name}")
        elif choice == 2:
            number = dice.randrange(10, 40)
            site.ask_mgmt("apply", objects.to_yaml(objects.service(
                f"extra-{number}", number, 80, layout.ANSWER_PORT)))
        else:
            site.ask_mgmt("apply", objects.to_yaml(objects.service(
                "flows", 2, 7000, layout.FLOWS_PORT,
                algorithm=dice.choice(["MAGLEV", "RANDOM", "ROUND_ROBIN", "RING_HASH"]))))
    for origin in layout.ORIGINS:
        site.ask_mgmt("undrain", name=f"flows-{origin.name}")
    more = site.flows(FLOWS, "client-2", count=500, interval_ms=500)
    listed = json.loads(site.shell("show", "flows", "--limit", "10000", "--json").stdout)["flows"]
    places = [(flow["snat"], flow["endpoint"]) for flow in listed if flow.get("snat")]
    assert len(places) >= 2500 and len(places) == len(set(places))
    for tool in (flows, more):
        ended = tool.finish()
        assert ended["broken"] == ended["moved"] == ended["wrong_flow"] == 0, ended


def test_the_shell_says_what_an_apply_would_change_before_it_does(site, tmp_path):
    site.apply(base())
    file = tmp_path / "web.yaml"
    file.write_text(objects.to_yaml(objects.service("web", 1, 8080, layout.ANSWER_PORT)))
    done = site.shell("diff", "-f", file, check=False)
    assert done.returncode == 1  # as diff(1): there are differences
    assert "advertise_policy" in done.stdout and "8080" in done.stdout, done.stdout
    assert site.cps(WEB, count=3).result()["failed"] == 0
    site.shell("apply", "-f", file)
    assert site.cps(f"{layout.vip(1)}:8080", count=30).result()["failed"] == 0


def test_the_configuration_survives_a_restart_of_everything(site):
    site.apply(base())
    before = site.ask_mgmt("config")["yaml"]
    site.mgmt.stop()
    site.dataplane.stop()
    site.start_appliance()
    assert site.ask_mgmt("config")["yaml"] == before
    host.wait_for(lambda: site.cps(WEB, count=10).result()["failed"] == 0, "traffic as before", 15)
