ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A -u 192.0.2.10:5060 -s rr -p 60 -o --pe sip
ipvsadm -a -u 192.0.2.10:5060 -r 198.51.100.11:5060 -m -w 1
ipvsadm -a -u 192.0.2.10:5060 -r 198.51.100.12:5060 -m -w 1
ipvsadm -a -u 192.0.2.10:5060 -r 198.51.100.13:5060 -m -w 1
