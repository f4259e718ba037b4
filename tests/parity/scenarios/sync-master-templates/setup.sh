sysctl -w net.ipv4.vs.sync_persist_mode=1
ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A -t 192.0.2.10:80 -s rr -p 300 -M 255.255.255.0
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 1
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.13:80 -m -w 1
