ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A -t 192.0.2.11:80 -s rr -p 90
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.13:80 -i -w 1
ipvsadm -A -u 192.0.2.11:53 -s rr
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.14:53 -g -w 1
