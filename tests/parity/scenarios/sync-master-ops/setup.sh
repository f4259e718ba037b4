ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A -u 192.0.2.11:53 -s rr -p 60 -o
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.14:53 -g -w 1
ipvsadm -A -u 192.0.2.12:53 -s rr -o
ipvsadm -a -u 192.0.2.12:53 -r 198.51.100.14:53 -m -w 1
