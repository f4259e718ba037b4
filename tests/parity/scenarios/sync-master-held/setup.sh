ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
ipvsadm -A -t 192.0.2.10:80 -s rr -p 5
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
