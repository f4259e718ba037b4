ipvsadm -A -u 192.0.2.10:80 -s rr
ipvsadm -A -u 192.0.2.11:80 -s rr
