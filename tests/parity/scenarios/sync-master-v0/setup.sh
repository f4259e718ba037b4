sysctl -w net.ipv4.vs.sync_version=0
ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A -t 192.0.2.10:0 -s rr -p 120
ipvsadm -a -t 192.0.2.10:0 -r 198.51.100.11:0 -m
ipvsadm -a -t 192.0.2.10:0 -r 198.51.100.12:0 -m
ipvsadm -a -t 192.0.2.10:0 -r 198.51.100.13:0 -m
ipvsadm -A -t 192.0.2.11:0 -s rr
ipvsadm -Ln
