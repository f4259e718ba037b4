ipvsadm -A -u 192.0.2.10:500 -s rr
ipvsadm -a -u 192.0.2.10:500 -r 198.51.100.11:500 -i
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -i
