#!/bin/sh
# What a Hanlon 3 server has its nodes start in the microkernel's container, by this name (protocol 1.6): a shell is process 1
# there, the host's /proc, /dev and /sys are /host-proc, /host-dev and /host-sys, and /tmp holds what the server wrote.
set -eu
channel=/tmp/cmd-channels/node-state-channel

mkdir -p /host
for each in proc dev sys; do
    [ -e "/host/$each" ] || ln -s "/host-$each" "/host/$each"
done
/usr/bin/python3 -I /usr/lib/mk/read-cloud-config /tmp/mk_conf.yaml > /etc/mk/mk.toml

# systemd as the first process of its own, and how it ended: pid_namespaces(7) has the signals of reboot(2).
status=0
env -i container=docker PATH="$PATH" unshare --pid --fork --mount-proc --kill-child /usr/lib/systemd/systemd || status=$?
case $status in
    129) order=reboot ;;
    130) order=poweroff ;;
    *) exit "$status" ;;
esac
# The host reads what it shall do from here. Nobody may be reading: that must not be waited for.
if [ -p "$channel" ]; then
    # shellcheck disable=SC2016  # for the inner shell
    timeout 10 sh -c 'echo "$1" > "$2"' sh "$order" "$channel"
fi
