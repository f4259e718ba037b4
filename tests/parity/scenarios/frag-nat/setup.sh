ipvsadm -A -u 192.0.2.10:53 -s rr
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:53 -m -w 1
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
