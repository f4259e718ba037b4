ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m
ipvsadm -A -u 192.0.2.11:53 -s rr
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.12:53 -g
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
