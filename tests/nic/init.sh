#!/bin/busybox sh
# The guest's first process: gives its network cards to DPDK and a shell to the second serial line.
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev
$busybox --install -s /bin
mkdir -p /dev/hugepages
mount -t hugetlbfs hugepages /dev/hugepages
for module in /modules/*; do insmod "$module"; done
while read -r device driver; do
  echo "$driver" >"/sys/bus/pci/devices/$device/driver_override"
  echo "$device" >/sys/bus/pci/drivers_probe
done </etc/drivers
ip link set lo up
cd /root || exit
# Opened once: a serial line that nobody holds open loses what comes in. Read through a pipe, or the
# shell would think that somebody sits at it; by read, as busybox's cat waits for a block.
exec 3<>/dev/ttyS1
stty raw -echo <&3
echo 'guest is up' >&3
while IFS= read -r line; do echo "$line"; done <&3 | sh >&3 2>&1
poweroff -f
