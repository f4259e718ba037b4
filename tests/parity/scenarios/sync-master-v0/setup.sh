sysctl -w net.ipv4.vs.sync_version=0
ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
ipvsadm -A -t 192.0.2.10:80 -s rr -p 60
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m -w 1
