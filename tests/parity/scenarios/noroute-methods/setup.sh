ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.77:80 -m
ipvsadm -A -t 192.0.2.11:80 -s rr
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.77:80 -g
ipvsadm -A -t 192.0.2.12:80 -s rr
ipvsadm -a -t 192.0.2.12:80 -r 198.51.100.77:80 -i
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::77]:80 -m
