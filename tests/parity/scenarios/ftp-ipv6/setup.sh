sysctl -w net.ipv4.vs.conntrack=1
ipvsadm -A -t [2001:db8:1::10]:21 -s rr
ipvsadm -a -t [2001:db8:1::10]:21 -r [2001:db8:2::11]:21 -m
