ipvsadm -A -u 192.0.2.10:53 -s lblc -o
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:53 -m
ipvsadm -A -u 192.0.2.11:53 -s lblcr -o
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.11:53 -m
ipvsadm -A -u 192.0.2.12:53 -s rr -o
ipvsadm -a -u 192.0.2.12:53 -r 198.51.100.11:53 -m
