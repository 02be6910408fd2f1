"""The structured facts equal those of the real Facter 4, on the same machine, changed in many ways.

Two reasons for a difference are accepted: that a newer Facter writes a fact in another format, and that a value changes
between two looks. All differences that were met are written to build/facter-differences.md.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkctl.probe.base import parse_cpu_list
from tests.machines.facter import Accepted, Look, Scenario, common, differences, look, table
from tests.machines.tree import BUILD

REPORT = BUILD / "facter-differences.md"
FORMAT, VOLATILE = "format generation", "volatility"
ACCEPTED = (
    Accepted("memory > (system|swap) > (available|used)(_bytes)?", VOLATILE, "memory is taken and given back"),
    Accepted("memory > (system|swap) > capacity", VOLATILE, "memory is taken and given back"),
    Accepted("mountpoints > .* > (available|used)(_bytes)?", VOLATILE, "files are written and removed"),
    Accepted("mountpoints > .* > capacity", VOLATILE, "files are written and removed"),
    Accepted("load_averages > (1|5|15)m", VOLATILE, "the load follows the work, Facter's included"),
    Accepted("system_uptime > (seconds|hours|days|uptime)", VOLATILE, "time passes"),
    Accepted("processors > speed", VOLATILE, "clocks follow the load"),
    Accepted("processors > extensions", FORMAT, "newer than Facter 4.3"),
    Accepted("partitions > .* > parttype", FORMAT, "newer than Facter 4.3"),
    Accepted("dmi > product > version", FORMAT, "newer than Facter 4.3"),
    Accepted(
        "networking > interfaces > .* > (operational_state|physical|speed|duplex)", FORMAT, "newer than Facter 4.3"
    ),
)
NEWER = (4, 4)
LOOKS = 5
NOT_OURS = {"facterversion", "ruby", "augeas", "ssh", "aio_agent_version", "puppetversion"}
"""Facts about programs that a node has not, and the keys of its ssh server."""

NETWORK = """
hostname node7.example.test
ip link set lo up
ip link add veth0 type veth peer name veth1
ip link set veth0 address 02:00:00:00:0a:01
ip addr add 169.254.9.9/16 dev veth0
ip addr add 10.1.2.3/24 dev veth0
ip addr add 10.1.2.4/24 dev veth0
ip addr add 172.16.5.6/30 dev veth0 label veth0:1
ip addr add 2001:db8::7/64 dev veth0 nodad
ip addr add 2001:db8:1::7/48 dev veth0 nodad preferred_lft 0
ip addr add fd00::7/64 dev veth1 nodad
ip link set veth0 up
ip link set veth1 up
ip link add br0 type bridge
ip link set br0 address 02:00:00:00:0a:02
ip addr add 10.7.7.7/32 dev br0
ip link set br0 up
ip tuntap add tun0 mode tun
ip addr add 10.9.9.1 peer 10.9.9.2 dev tun0
ip route add 203.0.113.0/24 via 10.1.2.1 src 10.7.7.7
ip route add default via 10.1.2.1 dev veth0 metric 50
ip route add default via 10.1.2.9 dev veth0 metric 10
ip -6 route add default via 2001:db8::1 dev veth0
until ! ip -6 addr | grep -q tentative; do sleep 0.1; done
mount -t tmpfs run /run
mkdir -p /run/systemd/netif/leases
printf '# private\\nADDRESS=10.1.2.3\\nSERVER_ADDRESS=10.1.2.254\\n' \\
    > /run/systemd/netif/leases/$(cat /sys/class/net/veth0/ifindex)
"""
NO_ROUTE = """
ip link set lo up
ip link add va type veth peer name vb
ip addr add fd00::1/64 dev vb nodad
ip addr add 2001:db8::1/64 dev va nodad
ip link set va up
ip link set vb up
until ! ip -6 addr | grep -q tentative; do sleep 0.1; done
"""
MOUNTS = """
mount -t tmpfs -o size=16m top /mnt
mkdir "/mnt/a b" /mnt/bind /mnt/over /mnt/layers /mnt/proc /mnt/ro
mount -t tmpfs -o size=3m "my device" "/mnt/a b"
head -c 1000000 /dev/zero > "/mnt/a b/file"
mount --bind /usr /mnt/bind
mount -t tmpfs -o size=1m below /mnt/over
mount -t tmpfs -o size=2m,ro above /mnt/over
mkdir /mnt/layers/upper /mnt/layers/work /mnt/layers/all
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/layers/upper,workdir=/mnt/layers/work layers /mnt/layers/all
mount -t proc more /mnt/proc
mount -t ramfs none /mnt/ro
mount -t tmpfs -o size=1m covered /proc/tty
mount -t tmpfs -o size=1m covered /sys/kernel
"""
SERVER = {
    "bios_date": "04/01/2014", "bios_vendor": "Maker BIOS", "bios_version": "1.14.0 ", "board_asset_tag": "Board tag",
    "board_name": "B-1", "board_serial": "BS-1", "board_vendor": "Maker", "chassis_asset_tag": "To Be Filled By O.E.M.",
    "chassis_type": "23", "product_name": "Server 1", "product_serial": "PS-1", "product_version": "V-1",
    "sys_vendor": "Maker", "product_uuid": "0f61d142-c291-4770-a0c9-405520784d49",
}  # fmt: skip


def smbios(attributes: dict[str, str]) -> str:
    """Lay a /sys/class with these SMBIOS strings over the machine's, whose other classes stay."""
    lines = ["mount -t tmpfs class /mnt", "cp -a /sys/class/net /sys/class/block /mnt", "mkdir -p /mnt/dmi/id"]
    lines += [f"echo '{value}' > /mnt/dmi/id/{name}" for name, value in attributes.items()]
    return "\n".join([*lines, "mount --move /mnt /sys/class"])


def chassis(number: int) -> Scenario:
    attributes = {"chassis_type": str(number), "sys_vendor": "Maker"}
    return Scenario(f"chassis {number}", commands=smbios(attributes), facts=("dmi",))


def system(name: str, **values: str) -> Scenario:
    """A machine with this os-release and without lsb_release, which few images have."""
    text = "".join(f'{key}="{value}"\n' for key, value in values.items())
    files = {"/etc/os-release": text}
    if shutil.which("lsb_release"):
        files[str(Path(str(shutil.which("lsb_release"))).resolve())] = "#!/bin/sh\nexit 127\n"
    return Scenario(f"os {name}", files, facts=("os",))


STRUCTURED = (
    *("networking", "disks", "dmi", "memory", "processors", "os", "partitions", "mountpoints", "filesystems"),
    *("virtual", "is_virtual", "hypervisors", "system_uptime", "load_averages", "identity", "timezone", "path"),
)
KERNEL = ("kernel", "kernelrelease", "kernelversion", "kernelmajversion")
STILL = Scenario(
    "still",
    {
        "/proc/meminfo": "MemTotal: 1048575 kB\nMemFree: 200 kB\nMemAvailable: 500001 kB\nBuffers: 3 kB\nCached: 5 kB\n"
        "SwapTotal: 1179648 kB\nSwapFree: 1000 kB\n",
        "/proc/uptime": "180059.97 4000.00\n",
        "/proc/loadavg": "0.00 1.10 12.34 1/200 999\n",
        "/proc/filesystems": "nodev\tproc\n\text4\nnodev\ttmpfs\n\tfuseblk\n\tbtrfs\n",
    },
    facts=("memory", "system_uptime", "load_averages", "filesystems"),
)
CPUS = len(parse_cpu_list(Path("/sys/devices/system/cpu/present").read_text(encoding="ascii")))
CLOCKS = "".join(
    f"processor\t: {number}\nmodel name\t: CPU  @ 2 GHz \ncpu MHz\t\t: {1600.5 + number}\n\n" for number in range(CPUS)
)
SCENARIOS = (
    Scenario("as it is"),
    Scenario("network", commands=NETWORK, network=True),
    Scenario("no route", commands=NO_ROUTE, network=True, facts=("networking",)),
    Scenario("mounts", commands=MOUNTS),
    STILL,
    Scenario("clocks", {"/proc/cpuinfo": CLOCKS}, facts=("processors",)),
    Scenario("server", commands=smbios(SERVER), facts=("dmi",)),
    chassis(13),
    chassis(29),
    chassis(2),
    Scenario(
        "names in hosts",
        {"/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 n7.lab.example n7\n", "/etc/resolv.conf": "search a.example\n"},
        "hostname n7",
        ("networking",),
    ),
    Scenario(
        "names of the resolver",
        {"/etc/hosts": "127.0.0.1 localhost\n", "/etc/resolv.conf": "search a.example. b.example\n"},
        "hostname n7",
        ("networking",),
    ),
    Scenario(
        "container",
        commands="mount -t tmpfs run /run\nmkdir /run/systemd\necho systemd-nspawn > /run/systemd/container",
        facts=("virtual", "is_virtual", "hypervisors"),
        variables={"container": "systemd-nspawn"},
    ),
    system("ubuntu", NAME="Ubuntu", ID="ubuntu", ID_LIKE="debian", VERSION_ID="22.04", PRETTY_NAME="Ubuntu 22.04 LTS"),
    system("fedora", NAME="Fedora Linux", ID="fedora", VERSION_ID="38", PRETTY_NAME="Fedora Linux 38"),
    system("rocky", NAME="Rocky Linux", ID="rocky", ID_LIKE="rhel centos fedora", VERSION_ID="9.2"),
    system("suse", NAME="SLES", ID="sles", ID_LIKE="suse", VERSION_ID="15.4", PRETTY_NAME="SLES 15 SP4"),
    system("alpine", NAME="Alpine Linux", ID="alpine", VERSION_ID="3.18.4", PRETTY_NAME="Alpine Linux v3.18"),
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A loop device with a partition table, file systems in it, and what udev says of them, as files."""
    image = tmp_path_factory.mktemp("disk") / "disk.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    table = 'label: gpt\nsize=8M, name="EFI System"\nsize=24M, name="ro ot"\nsize=8M\nsize=2M\n'
    subprocess.run(["sfdisk", "--quiet", str(image)], input=table, text=True, check=True)
    device = subprocess.check_output(["losetup", "--find", "--show", str(image)], text=True).strip()
    try:
        subprocess.run(["partx", "--update", device], check=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "my root", f"{device}p2"], check=True)
        subprocess.run(["mkswap", "-q", "-L", "sw", f"{device}p3"], check=True)
        yield device
    finally:
        subprocess.run(["partx", "--delete", device], check=False)
        subprocess.run(["losetup", "--detach", device], check=True)


def disks(device: str) -> Scenario:
    """A /sys/block in which the loop device is a disk, beside made ones; udev's database as its blkid would fill it."""
    name = Path(device).name
    return Scenario(
        "disks",
        commands=f"""
mount -t tmpfs block /mnt
mkdir -p /mnt/{name}/device /mnt/{name}/queue /mnt/sr0/device /mnt/sr0/queue /mnt/fd0/device /mnt/zram0 /mnt/dm-0/dm
cat /sys/block/{name}/size > /mnt/{name}/size
cat /sys/block/{name}/dev > /mnt/{name}/dev
echo 0 > /mnt/{name}/queue/rotational
echo 'ATA     ' > /mnt/{name}/device/vendor
echo 'Model 1 with blanks  ' > /mnt/{name}/device/model
for i in 1 2 3 4; do
    mkdir /mnt/{name}/{name}p$i
    cat /sys/class/block/{name}p$i/size > /mnt/{name}/{name}p$i/size
    cat /sys/class/block/{name}p$i/dev > /mnt/{name}/{name}p$i/dev
done
echo 2097151 > /mnt/sr0/size; echo QEMU > /mnt/sr0/device/vendor; echo 1 > /mnt/sr0/queue/rotational
echo 0 > /mnt/fd0/size
echo 4096 > /mnt/dm-0/size; echo vg-root > /mnt/dm-0/dm/name
echo 100 > /mnt/zram0/size
mount -t tmpfs run /run
mkdir -p /run/udev/data
touch /run/udev/control
for i in 1 2 3 4; do
    ( blkid -p -o udev {device}p$i || : ) | sed 's/^/E:/' > /run/udev/data/b$(cat /sys/class/block/{name}p$i/dev)
done
printf 'E:ID_SERIAL_SHORT=S  1 2\\nE:ID_SERIAL=M_S\\nE:ID_WWN=0x5000\\nE:ID_WWN_WITH_EXTENSION=0x50001\\n' \\
    > /run/udev/data/b$(cat /sys/class/block/{name}/dev)
mount --move /mnt /sys/block
mkdir /run/first /run/second
mount {device}p2 /run/first
mount {device}p2 /run/second
""",
        facts=("disks", "partitions"),
    )


Met = dict[str, tuple[Look, list[tuple[str, object, object, str]]]]


@pytest.fixture(scope="module")
def met(disk: str, tmp_path_factory: pytest.TempPathFactory) -> Met:
    """Run every scenario, write the report, and return what was seen and each difference with its reason."""
    found: Met = {}
    for scenario in (*SCENARIOS, disks(disk)):
        seen = look_at_rest(scenario, tmp_path_factory.mktemp("scenario"))
        theirs = {name: value for name, value in seen.facter.items() if name not in NOT_OURS}
        rows = [(path, ours, other, reason(path)) for path, ours, other in differences(seen.before, theirs)]
        found[scenario.name] = seen, rows
    report = [(name, *row) for name, (_, rows) in found.items() for row in rows]
    BUILD.mkdir(exist_ok=True)
    REPORT.write_text(table(report), encoding="utf-8")
    return found


def look_at_rest(scenario: Scenario, place: Path) -> Look:
    """Look again while something that should stand still changed meanwhile: a mount, an interface of other tests."""
    for _ in range(LOOKS):
        seen = look(scenario, place)
        if all(reason(path) for path, _, _ in differences(seen.before, seen.after)):
            return seen
    raise AssertionError(f"{scenario.name}: the machine is never at rest")


def reason(path: str) -> str:
    return next((f"{each.kind}: {each.why}" for each in ACCEPTED if each.covers(path)), "")


@pytest.mark.parametrize("name", [*(scenario.name for scenario in SCENARIOS), "disks"])
def test_equal_but_for_accepted_reasons(met: Met, name: str) -> None:
    seen, rows = met[name]
    assert seen.facter
    assert [row[:3] for row in rows if not row[3]] == []


def test_what_stands_still_is_equal_to_the_last_digit(met: Met) -> None:
    """Volatility excuses no wrong format: with the kernel's figures held still there is no difference at all."""
    seen, rows = met["still"]
    assert rows == []
    assert seen.before.keys() == set(STILL.facts)


def test_time_passes_between_the_looks(met: Met) -> None:
    seen = met["as it is"][0]
    assert seen.before["system_uptime"]["seconds"] <= seen.facter["system_uptime"]["seconds"]
    assert seen.facter["system_uptime"]["seconds"] <= seen.after["system_uptime"]["seconds"]


def test_every_structured_fact_is_compared(met: Met) -> None:
    names = {name for seen, _ in met.values() for name in {*seen.before, *seen.facter}}
    wanted = {*STRUCTURED, *KERNEL}
    assert wanted <= names
    for name in wanted:
        assert any(name in seen.before and name in seen.facter for seen, _ in met.values()), name


@pytest.mark.parametrize("accepted", ACCEPTED, ids=[each.path for each in ACCEPTED])
def test_accepted_reasons_still_apply(met: Met, accepted: Accepted) -> None:
    """A volatile fact is one that both have; another format is met, or this Facter is too old for it."""
    looks = [seen for seen, _ in met.values()]
    if accepted.kind == VOLATILE:
        assert any(accepted.covers(path) for seen in looks for path in common(seen.before, seen.facter))
    else:
        version = tuple(int(part) for part in str(met["as it is"][0].facter["facterversion"]).split(".")[:2])
        differs = any(accepted.covers(row[0]) for _, rows in met.values() for row in rows)
        assert differs == (version >= NEWER)
