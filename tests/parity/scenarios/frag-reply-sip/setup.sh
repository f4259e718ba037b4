ipvsadm -A -u 192.0.2.10:80 -s rr -p 60 --pe sip
ipvsadm -a -u 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -a -u 192.0.2.10:80 -r 198.51.100.12:80 -m
ipvsadm -A -u [2001:db8:1::10]:80 -s rr -p 60 --pe sip
ipvsadm -a -u [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
