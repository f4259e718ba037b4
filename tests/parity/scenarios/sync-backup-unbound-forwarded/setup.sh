ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 0
ipvsadm -A -t 192.0.2.10:80 -s rr -p 120
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 1
ipvsadm -A -u 192.0.2.11:53 -s rr
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.13:53 -g -w 1
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m -w 1
sleep 3
