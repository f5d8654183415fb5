"""SNAT ports and flow records run out: exactly at their number, by name, and not for ever."""

from sluice_site import host, layout, objects

FLOWS = f"{layout.vip(2)}:7000"
ONE_ORIGIN = layout.ORIGINS[:1]


def small_pool(**options):
    return [objects.node(snat_ports=(40000, 40099),
                         timeouts={"tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s",
                                   "tcp_reset": "1s"}, **options),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=ONE_ORIGIN)]


def wait_ended(site, remaining):
    """Until the records of closed flows are free. Trying would only make new ones."""
    host.wait_for(lambda: site.ask_dataplane("status")["flows_in_use"] <= remaining,
                  "the closed flows to be forgotten", 20)


def test_snat_ports_run_out_exactly_at_their_number_and_are_named(site):
    site.apply(small_pool())
    full = site.flows(FLOWS, count=100, interval_ms=200)
    assert full.event("ready")["established"] == 100
    over = site.flows(FLOWS, "client-2", count=10, open_timeout_ms=1500)
    assert over.event("ready")["failed_to_open"] == 10
    assert site.drops()["drop.snat_ports_exhausted"] >= 10
    over.finish()
    ended = full.finish()
    assert ended["broken"] == ended["wrong_flow"] == 0, ended
    served = site.origins["web-1"].flows.finish()
    assert (served["wrong_flow"], served["wrong_bytes"]) == (0, 0), served


def test_snat_ports_come_back_when_flows_end(site):
    site.apply(small_pool())
    full = site.flows(FLOWS, count=90, interval_ms=200)
    ten = site.flows(FLOWS, "client-2", count=10, interval_ms=200)
    assert ten.event("ready")["established"] == 10
    ten.finish()

    wait_ended(site, 90)
    again = site.flows(FLOWS, "client-2", count=10, interval_ms=200)
    assert again.finish()["established"] == 10
    ended = full.finish()
    assert ended["broken"] == ended["wrong_flow"] == 0, ended


def test_a_full_flow_table_refuses_new_flows_by_name_and_keeps_the_old(site):
    site.apply([objects.node(capacity=1024, timeouts={
                    "tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s",
                    "tcp_reset": "1s"}),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT)])
    capacity = site.ask_dataplane("status")["flows_capacity"]
    assert 1024 <= capacity <= 4096, capacity
    first = site.flows(FLOWS, count=900, interval_ms=500)
    assert first.event("ready")["established"] == 900
    over = site.flows(FLOWS, "client-2", count=capacity, open_timeout_ms=1500)
    ready = over.event("ready")
    assert ready["established"] == capacity - 900, ready
    assert ready["failed_by"] == {"ETIMEDOUT": 900}, ready
    assert site.drops()["drop.flows_full"] >= 900
    over.finish()

    wait_ended(site, 900)
    again = site.flows(FLOWS, "client-2", count=50)
    assert again.finish()["established"] == 50
    ended = first.finish()
    assert ended["broken"] == ended["wrong_flow"] == 0, ended
