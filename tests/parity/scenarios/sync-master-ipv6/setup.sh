ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ip -6 addr add 2001:db8:1::12/128 dev eth0 nodad
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
ipvsadm -A -t [2001:db8:1::11]:80 -s rr
ipvsadm -a -t [2001:db8:1::11]:80 -r [2001:db8:2::12]:80 -g
ipvsadm -A -t [2001:db8:1::12]:80 -s rr
ipvsadm -a -t [2001:db8:1::12]:80 -r [2001:db8:2::13]:80 -i
