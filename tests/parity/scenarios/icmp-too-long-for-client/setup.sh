ip link set eth0 mtu 1300
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
