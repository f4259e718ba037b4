ipvsadm --set 0 0 10
ipvsadm -A -u 192.0.2.10:53 -s rr
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:53 -m
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.12:53 -m
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.13:53 -m
